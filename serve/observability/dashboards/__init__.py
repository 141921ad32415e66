"""Grafana dashboards and Prometheus alert rules, written as code. Begin with `boards`."""
