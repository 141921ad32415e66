"""Simulated users: how fast the bandits learn a taste, against random and the best fixed arm.
``python -m loadtests.taste`` prints the tables of docs/MIND.md. Imports only `serve.personalisation.bandits`."""
