"""Adapters of the starter family: a ControlNet, an IP-Adapter and LoRAs, trained on what its engines hold."""
