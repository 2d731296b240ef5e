"""nwidth: certified model reduction of simulation snapshots larger than memory."""
