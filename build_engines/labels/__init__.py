"""Labels: what the tracers made of sampled pictures under sampled parameters."""
