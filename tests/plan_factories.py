"""A measurement as nobody made it, with round numbers to work with by hand."""

from jobs.forecast import Probe
from jobs.gpu_kinds import Span
from jobs.plan_measurement import Measurement

NETWORK_S = Span(0.008, 0.01, 0.02)
PROBE = Probe(
    images=64,
    refused=1,
    sizes=3,
    batch_size=8,
    network_s=NETWORK_S,
    read_s=0.002,
    decode_s=0.018,
    encode_s=0.012,
    write_s=0.001,
    image_bytes=200_000.0,
    label_bytes=150_000.0,
    shard_bytes=4_000,
    flops=1e12,
)
MEASURED = Measurement(
    device_name="NVIDIA L4",
    on_gpu=True,
    threads=7,
    start_s=31.5,
    label_set="by-t",
    teacher="t",
    teacher_sha256="0" * 64,
    side=518,
    resize="exact",
    precision="bf16",
    bits=16,
    consistency=False,
    code_version="1",
    probe=PROBE,
)
