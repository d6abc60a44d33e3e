"""The Grafana dashboard, built from `panels` with Grafana's own SDK (a ``dev`` dependency)."""

import itertools
import json

from grafana_foundation_sdk.builders import common as layout
from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

from infra.monitoring.panels import ROWS, Panel
from jobs.metrics import PREFIX

UID = "pseudo-label-factory"
HEIGHT = 8
GAP_MS = 300_000.0  # lines go on over what a driver that waited did not say
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")


def dashboard_json() -> str:
    """``factory.json``, as a file that Grafana is provisioned with."""
    return json.dumps(build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def build() -> models.Dashboard:
    """All rows and panels, with their variables."""
    page = (
        dashboard.Dashboard("Pseudo-label factory")
        .uid(UID)
        .description("Labelling, ingesting, evaluating and training, and the machines they are on.")
        .tags(["pseudo-label-factory", "ray"])
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .variables(_variables())
    )
    numbers = itertools.count(1)
    for row in ROWS:
        page = page.with_row(dashboard.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            page = page.with_panel(_panel(panel).id(next(numbers)))
    return page.build()


def _variables() -> list[Builder[models.VariableModel]]:
    source = (
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .description("The Prometheus that scrapes Ray.")
        .type("prometheus")
    )
    return [
        source,
        _values_of("label_set", "Label set", "factory_actor_images_total"),
        _values_of("run", "Run", "factory_training_steps"),
    ]


def _values_of(tag: str, label: str, metric: str) -> dashboard.QueryVariable:
    """All values of a tag that were there in the time that is shown; all of them at first."""
    query = f"label_values({PREFIX}{metric}, {tag})"
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return (
        dashboard.QueryVariable(tag)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": tag})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    drawn = _number(panel) if panel.kind == "number" else _lines(panel)
    return (
        drawn.title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .height(HEIGHT // 2 if panel.kind == "number" else HEIGHT)
        .span(panel.width)
        .targets(_targets(panel))
    )


def _targets(panel: Panel) -> list[Builder[Dataquery]]:
    return [
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .range()
        .ref_id(chr(ord("A") + number))
        .datasource(SOURCE)
        for number, query in enumerate(panel.queries)
    ]


def _number(panel: Panel) -> stat.Panel:
    last = layout.ReduceDataOptions().calcs(["lastNotNull"])
    return (
        stat.Panel()
        .reduce_options(last)
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME)
    )


def _lines(panel: Panel) -> timeseries.Panel:
    legend = (
        layout.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )
    tooltip = layout.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    drawn = timeseries.Panel().legend(legend).tooltip(tooltip).line_width(1).span_nulls(GAP_MS)
    if panel.unit == "percentunit":
        drawn = drawn.min(0).max(1)
    if panel.kind == "stacked":
        stacking = layout.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
        drawn = drawn.stacking(stacking).fill_opacity(30)
    return drawn
