"""One file per stage: what goes in, what comes out, and how it is accepted."""
