"""Peak memory of the function's process, by the size of the results."""

import tempfile
from pathlib import Path

from bench import child, pictures, services
from bench.child import SOURCE
from bench.report import Goal, Part, Peak, Table, as_text, number

MOST_MB = 150
FLAT = 1.1  # largest peak over the smallest
PICTURE = Path(__file__).with_name("memory.svg")
CASES = ((10, 1), (10, 20), (1, 1), (1, 100))  # results at once, MB each


def measure_peaks() -> list[Peak]:
    peaks = []
    with tempfile.TemporaryDirectory(prefix="cutout-bench-") as folder:
        for images, megabytes in CASES:
            result = services.png(megabytes * 1_000_000)
            with services.serving(Path(folder), source=SOURCE.read_bytes(), result=result) as served:
                for handler in ("ours", "naive"):
                    log = child.run(served, handler, images=images, batches=2)
                    peaks.append(Peak(handler, images, megabytes, log.peak_mb))
    return peaks


def measure_upload() -> float:
    """Peak MB when ten images of 20 MB are sent to the API themselves."""
    image = services.png(20_000_000)
    with (
        tempfile.TemporaryDirectory(prefix="cutout-bench-") as folder,
        services.serving(Path(folder), source=image, result=services.png(1_000_000)) as served,
    ):
        return child.run(served, "ours", batches=2, delivery="upload").peak_mb


def measure() -> Part:
    peaks = measure_peaks()
    pictures.draw_memory(PICTURE, peaks, MOST_MB)
    found = {(peak.handler, peak.images, peak.megabytes): peak.peak_mb for peak in peaks}
    rows = [
        (
            f"{images} of {megabytes} MB",
            number(found["ours", images, megabytes]),
            number(found["naive", images, megabytes]),
        )
        for images, megabytes in CASES
    ]
    upload = measure_upload()
    rows.append(("10 images of 20 MB, sent to the API themselves", number(upload), ""))
    return Part(
        "Memory",
        [Table("Peak of the resident memory (VmHWM) in MB, after two batches:", ("results", "ours", "naive"), rows)],
        [
            Goal("Ten results of 20 MB at once", found["ours", 10, 20], MOST_MB, "MB"),
            Goal("One result of 100 MB", found["ours", 1, 100], MOST_MB, "MB"),
            Goal(
                "Ten images of 20 MB, delivered by upload",
                upload,
                MOST_MB,
                "MB",
            ),
            Goal("Ten results of 20 MB, over ten of 1 MB", found["ours", 10, 20] / found["ours", 10, 1], FLAT),
            Goal("One result of 100 MB, over one of 1 MB", found["ours", 1, 100] / found["ours", 1, 1], FLAT),
        ],
        ["The naive handler has one image at a time, whatever the batch."],
        PICTURE.name,
    )


if __name__ == "__main__":
    print(as_text(measure()))
