"""Triton as a child process: installation, start, supervision, model versions, log. Begin with `server`."""
