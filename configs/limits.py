"""How large a run may be: far beyond any study, and refused before memory is taken for it.

The largest study thought of has 50 networks of 3000 peers for a year; every limit leaves room
beyond that. What exceeds one is most likely a slip of the pen, or no honest input.
"""

NETWORKS = 1_000
"""Networks of a run."""
BUSES = 20_000
"""Buses of one network; its sensitivities are dense matrices."""
PEERS = 500_000
"""Peers of a run."""
CAPACITORS = 2_000
"""Capacitors added to one network."""
STRATEGIES = 1_000
"""Entries that say who uses which strategy."""
PARAMETERS = 100
"""Parameters of a strategy."""
WINDOW_STEPS = 2_016
"""Steps of the look-ahead window: a week of 5-minute steps."""
SAMPLES = 50_000
"""Error samples of one step and lead, and scenarios of one Monte Carlo check."""
FORECASTS = 4_000_000_000
"""Forecasts that are kept for the error samples: steps times leads times profiles (16 GB)."""
RUNS = 10_000
"""Runs of an experiment."""
FIGURE = 1e9
"""No rating, price or factor is larger, in whatever unit its name tells."""
LEAST_FIGURE = 1e-9
"""No setting that must be positive is smaller: others are divided by it."""
WHOLE_NUMBER = 2**31 - 1
"""No number of a bus is larger, nor any count without a limit of its own."""
SEED = 2**63 - 1
"""Largest seed."""
SETTINGS_BYTES = 20_000_000
"""Size of a scenario or experiment file; those that runs leave tell every network. [B]"""
SETTINGS_VALUES = 1_000_000
"""Values in a scenario or experiment file, those that aliases repeat included."""
SETTINGS_DEPTH = 20
"""Levels of sections and lists in a scenario or experiment file."""
INPUT_BYTES = 4_000_000_000
"""Size of a file of profiles, prices or forecasts. [B]"""
TABLE_BYTES = 500_000_000
"""Size of a file of a network, of peers or of what strategies have learnt. [B]"""
TABLE_VALUES = 500_000_000
"""Values of a Parquet file, which may be far smaller than its content (4 GB)."""
