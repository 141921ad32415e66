"""A tritonserver with its own backends, as in NVIDIA's container (A-112), serves the same folders.

The stand-in is the wheel's binary at another path; its backends stand where the container has the C++ ones.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_onnx

from serve.engines.client import EngineClient
from serve.engines.triton import installation
from serve.engines.triton.server import TritonServer
from serve.ensembles.batch_profile import profile
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.errors import EngineUnavailable
from serve.observability.metrics import processes
from serve.settings import HOME, load

OPSET, IR = 21, 10
"""The newest that ONNX Runtime 1.19 reads, which NVIDIA's container 24.10 has."""
X = {"x": np.ones((1, 4), np.float32)}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation like ``/opt/tritonserver``, in an environment with its library path, as in the container."""
    there = installation.find()
    assert there.wheel is not None
    root = tmp_path / "opt" / "tritonserver"
    (root / "bin").mkdir(parents=True)
    shutil.copy(there.binary, root / "bin")
    (root / "lib").symlink_to(there.wheel.libraries)
    installation.backends_folder(there, root / "backends")
    shutil.copytree(root / "backends" / "onnxruntime", root / "backends" / "tensorrt")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{there.wheel.libraries}:{sysconfig.get_config_var('LIBDIR')}")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return root


def plan(repository: Path) -> None:
    """An engine whose config names TensorRT, as ``build illustrate --target tensorrt`` writes it."""
    folder = tiny_onnx.affine(repository, "affine", "onnxruntime")
    config = (folder / "config.pbtxt").read_text()
    (folder / "config.pbtxt").write_text(config.replace('"onnxruntime"', '"tensorrt"').replace(".onnx", ".plan"))
    (folder / "1" / "model.onnx").rename(folder / "1" / "model.plan")


def programs_below(pid: int) -> set[Path]:
    """The program files of the tritonservers that run below ``pid``."""
    folders = [Path(f"/proc/{below}") for below in processes.descendants(pid)]
    return {
        (folder / "exe").readlink() for folder in folders if (folder / "comm").read_text().strip() == "tritonserver"
    }


@pytest.mark.triton
async def test_engine_of_its_own_backend_is_served(root: Path, tmp_path: Path) -> None:
    """A plan of TensorRT, which the embedded server refuses."""
    repository = tmp_path / "models"
    plan(repository)
    with pytest.raises(EngineUnavailable, match="tensorrt"):
        TritonServer(repository, ["affine"]).start()
    with TritonServer(repository, ["affine"], tritonserver=root) as server:
        programs = programs_below(server.pid)
        assert programs == {root / "bin" / "tritonserver"}
        client = EngineClient(server.url)
        answer = await client.infer("affine", X)
        await client.close()
    np.testing.assert_allclose(answer["y"], X["x"] @ tiny_onnx.WEIGHTS, rtol=1e-5)
    assert (root / "backends" / "tensorrt" / "model.py").is_file(), "what it came with is left as it was"


@pytest.mark.triton
async def test_plans_are_profiled(root: Path, tmp_path: Path) -> None:
    plan(tmp_path / "models")
    found = await profile(tmp_path / "models", "affine", "stand-in", sizes=[1, 2], seconds=0.05, tritonserver=root)
    assert set(found.milliseconds) >= {1, 2}


@pytest.mark.triton
async def test_ensemble_uses_the_installation_in_its_settings(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__TRITONSERVER", str(root))
    illustrator = Illustrator(load().illustrator)
    await illustrator.start()
    try:
        server = illustrator.engine_set._server
        assert server is not None
        assert programs_below(server.pid) == {root / "bin" / "tritonserver"}
    finally:
        await illustrator.close()


def test_missing_parts_are_named(root: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"no tritonserver can be run at .*/nowhere/bin/tritonserver"):
        installation.find(root / "nowhere")
    shutil.rmtree(root / "backends")
    with pytest.raises(EngineUnavailable, match="has no folder 'backends'"):
        installation.find(root)


def test_library_path_excludes_the_wheels_libraries(root: Path) -> None:
    """They would precede those of the container."""
    found = installation.find(root)
    environment = installation.environment(found, 3, root / "adapters")
    assert environment["LD_LIBRARY_PATH"] == os.environ["LD_LIBRARY_PATH"]
    assert environment["PATH"] == os.environ["PATH"]
    assert installation.backends_folder(found, root / "unused") == root / "backends"
    command = installation.command(
        found,
        repository=root,
        engines=["a"],
        backends=root / "backends",
        shm_prefix="x",
        host="127.0.0.1",
        ports=installation.Ports(1, 2, 3),
        http_key=None,
        load_threads=1,
        stub_timeout_s=1,
    )
    assert not [word for word in command if "backend-config=onnxruntime" in word], "options of the embedded ones"


@pytest.mark.parametrize("path", sorted((HOME / "model_repository").glob("*/1/model.onnx")), ids=lambda p: p.parts[-3])
def test_models_are_readable_by_the_containers_onnx_runtime(path: Path) -> None:
    model = onnx.load(str(path), load_external_data=False)
    assert model.ir_version <= IR
    assert {opset.domain: opset.version for opset in model.opset_import}[""] <= OPSET
