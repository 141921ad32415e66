"""A site whose families take what guides a drawing, for browsers: the real application with a queue and its worker;
pictures are disks. As a command it serves that, at the URL that it prints, until it is stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from illustrator_standin import IllustratorStandIn, family
from programs.http_server import listening_with_state

from serve.settings import JobsSettings, Settings

GUIDED = family(
    "guided", 256, takes_loras=True, controls=("canny", "tile"), takes_references=True,
    reference_scales=("style_scale", "content_scale"),
)  # fmt: skip
PLAIN = family("plain", 256, takes_pictures=False)


@contextlib.contextmanager
def guided_site(folder: Path) -> Iterator[str]:
    """Its URL."""
    jobs = JobsSettings(poll_s=0.05, progress_s=0.0)
    settings = Settings(state_dir=folder, jobs=jobs)
    with listening_with_state(settings, IllustratorStandIn(GUIDED, PLAIN), works=True) as address:
        yield f"http://{address}"


if __name__ == "__main__":
    with TemporaryDirectory() as temporary, guided_site(Path(temporary)) as url:
        print(url, flush=True)
        while True:
            time.sleep(1)
