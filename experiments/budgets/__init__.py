"""Do searches reach their budgets? Every resource, approached from above and from below."""
