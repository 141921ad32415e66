"""The packages of the wheel; all else is in pyproject.toml.

The engines, the built web application and what a running stack reads of `deployments` lie at the top of a checkout,
and in the wheel inside the package, as `serve/data` (`serve.settings.section` finds them). Folders that are absent are
left out: an image installs the dependencies before it has them.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from setuptools import find_namespace_packages, setup

DATA = {
    "model_repository": ["**/*.onnx", "**/*.pbtxt", "**/*.json"],
    "deployments": ["*.yaml", "*.toml", "haproxy", "*.http"],
    "deployments/prompts": ["*.toml", "labelled.txt"],
    "deployments/style_transfer": ["*.toml", "*.webp"],
    "deployments/director": ["*.toml", "*.txt"],
    "deployments/captions": ["*.toml"],
    "deployments/grafana": ["*.json"],
    "deployments/prometheus": ["*.yml"],
    "studio/dist": ["**/*"],
}
"""Which files of which folders. What needs a checkout (images, Kubernetes, systemd) stays in the checkout."""

building = TemporaryDirectory()
"""Not the folder `build`, from which setuptools would put into a wheel what an earlier checkout had."""
there = {f"serve.data.{folder.replace('/', '.')}": folder for folder in DATA if Path(folder).is_dir()}
setup(
    packages=[*find_namespace_packages(include=["serve", "serve.*", "build_engines", "build_engines.*"]), *there],
    package_dir=there,
    package_data={package: DATA[folder] for package, folder in there.items()},
    include_package_data=False,
    options={"build": {"build_base": building.name}},
)
