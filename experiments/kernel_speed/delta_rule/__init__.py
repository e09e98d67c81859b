"""The gated delta rule at the shapes of today's models: its peers, times and errors."""
