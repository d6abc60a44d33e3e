"""Writes what is made from the panels and alerts: ``make dashboards``."""

from pathlib import Path

from infra.monitoring.alerts import prometheus_rule_yaml, rules_yaml
from infra.monitoring.dashboard import dashboard_json

FOLDER = Path(__file__).resolve().parent


def made_files() -> dict[str, str]:
    """What each file has to hold, by its path from here."""
    return {
        "factory-alerts.yml": rules_yaml(),
        "kubernetes/prometheus-rule.yaml": prometheus_rule_yaml(),
        "grafana/factory.json": dashboard_json(),
    }


def main() -> None:
    """Write them all."""
    for path, content in made_files().items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
