"""Physics: radial networks, their sensitivities, and AC power flow."""
