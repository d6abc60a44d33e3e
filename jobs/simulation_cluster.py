"""What a simulated labelling run is made of: its work, its machines, and what goes wrong there.

Every field has a unit in its name. Nothing goes wrong unless it is asked for: the defaults are
a calm cluster. Rates are means of exponential gaps, so that what happens has no memory.
"""

from dataclasses import dataclass, field

Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stragglers:
    """GPUs that are slower than the rest.

    Attributes:
        share: Of the GPUs, slower for good, 0..1.
        factor: How many times as long they take.
        spells_per_hour: How often any GPU becomes slow for a time; a shard keeps its pace.
        spell_s: Mean length of such a spell, seconds.
        spell_factor: How many times as long a shard takes that begins in one.
    """

    share: float = 0.0
    factor: float = 1.0
    spells_per_hour: float = 0.0
    spell_s: float = 600.0
    spell_factor: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Failures:
    """What dies of itself.

    Attributes:
        process_deaths_per_hour: Of each actor.
        process_loss_seen_s: Until the driver hears of it, seconds.
        poison_shards: Each kills every process that labels it, somewhere on the way.
        driver_deaths_per_hour: The driver's process, and its actors with it.
        driver_restart_s: Until somebody or something has started it again, seconds.
        driver_stays_on_machine: It sees then that the former one is dead; else it waits for leases.
    """

    process_deaths_per_hour: float = 0.0
    process_loss_seen_s: float = 0.5
    poison_shards: int = 0
    driver_deaths_per_hour: float = 0.0
    driver_restart_s: float = 120.0
    driver_stays_on_machine: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Spot:
    """Nodes that are taken away, with all their GPUs, and given again.

    Attributes:
        losses_per_hour: Of each node.
        loss_seen_s: Until the driver hears of it, seconds.
        notice_s: A node is told to go so long before; None where it is not told. It gets nothing
            more then, and what is lost with it is not charged.
        replacement_s: Mean wait for another node, seconds.
        droughts_per_hour: How often the market gives fewer nodes for a time.
        drought_s: Mean length of that, seconds.
        drought_share: Of the nodes that are left meanwhile, 0..1, rounded down.
    """

    losses_per_hour: float = 0.0
    loss_seen_s: float = 5.0
    notice_s: float | None = None
    replacement_s: float = 300.0
    droughts_per_hour: float = 0.0
    drought_s: float = 7200.0
    drought_share: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Outages:
    """When a service does not answer.

    Attributes:
        per_hour: How often.
        mean_s: How long on average, seconds.
        at_s: Certain ones besides, as (beginning, end) since the start, seconds, in order.
    """

    per_hour: float = 0.0
    mean_s: float = 60.0
    at_s: Spans = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlPlane:
    """What the driver and its catalog take; `benchmarks/control_plane.py` measures it.

    Attributes:
        catalog_write_s: A transaction that leases, commits, charges or renews, seconds.
        catalog_count_s: Counting where the whole set stands, seconds.
        driver_shard_s: The driver's own time per outcome, seconds.
        lease_s: How long a lease lives without a heartbeat, seconds.
        catalog_patience_s: How long the catalog may not answer before the run stops, seconds.
    """

    catalog_write_s: float = 0.004
    catalog_count_s: float = 0.1
    driver_shard_s: float = 0.005
    lease_s: float = 60.0
    catalog_patience_s: float = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedCluster:
    """A labelling run to be simulated: `jobs.simulation.simulate` says what becomes of it.

    Attributes:
        shards: To be labelled.
        gpus: One actor on each.
        images_per_s: Of one GPU that is kept busy, over shards of all kinds.
        images_per_shard: In each of them.
        shard_spread: Standard deviation of the time a shard takes over its mean, as shards of
            larger images take longer; log-normal.
        image_bytes: Read per image, mean.
        label_bytes: Written per image, mean.
        gpus_per_node: That come and go together; the last node has what is left over.
        actor_start_s: From a free GPU to an actor that has loaded its teacher, seconds.
        actor_start_spread: It takes up to this share longer or shorter, uniformly, 0..1.
        first_batch_s: From a shard handed out to the first batch that waits for the GPU, seconds.
        last_batch_s: From the last batch computed to an object written and an answer, seconds.
        shard_timeout_s: An actor that takes longer loses its life, seconds.
        store_retry_s: How long a shard waits for a store that does not answer, seconds.
        seed: The same one gives the same run.
    """

    shards: int
    gpus: int
    images_per_s: float
    images_per_shard: int = 1000
    shard_spread: float = 0.0
    image_bytes: float = 0.0
    label_bytes: float = 0.0
    gpus_per_node: int = 8
    actor_start_s: float = 60.0
    actor_start_spread: float = 0.0
    first_batch_s: float = 0.0
    last_batch_s: float = 0.0
    shard_timeout_s: float = 3600.0
    store_retry_s: float = 30.0
    stragglers: Stragglers = field(default_factory=Stragglers)
    failures: Failures = field(default_factory=Failures)
    spot: Spot = field(default_factory=Spot)
    catalog_outages: Outages = field(default_factory=Outages)
    store_outages: Outages = field(default_factory=Outages)
    control: ControlPlane = field(default_factory=ControlPlane)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shards < 1 or self.gpus < 1 or self.gpus_per_node < 1 or self.images_per_shard < 1:
            raise ValueError("shards, images per shard, GPUs and GPUs per node must be at least 1")
        if not self.images_per_s > 0:
            raise ValueError(f"images_per_s must be above 0, got {self.images_per_s}")
        if not 0 <= self.actor_start_spread <= 1:
            raise ValueError(f"actor_start_spread must be 0..1, got {self.actor_start_spread}")
        if self.failures.poison_shards > self.shards:
            raise ValueError("there are more poison shards than shards")

    @property
    def nodes(self) -> int:
        """How many hold all GPUs."""
        return -(-self.gpus // self.gpus_per_node)

    @property
    def shard_s(self) -> float:
        """Mean seconds that a GPU computes for a shard."""
        return self.images_per_shard / self.images_per_s
