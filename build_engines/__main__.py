"""Entry of ``python -m build_engines``."""

from build_engines.cli import app

if __name__ == "__main__":
    app(prog_name="python -m build_engines")
