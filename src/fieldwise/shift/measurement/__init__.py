"""What numbers say of how outputs move when the input does: errors, metrics and verdicts."""
