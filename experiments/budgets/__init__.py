"""Are budgets met? Searches under every resource, approached from above and from below."""
