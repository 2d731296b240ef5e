"""How a pass scales: a simulated cluster whose leaves sleep instead of computing."""
