"""Training of the learned engines: networks, data sets, losses and metrics."""
