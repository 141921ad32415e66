"""BLIP-class checkpoints as engines that caption pictures."""
