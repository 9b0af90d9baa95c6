"""The payments' HTTP endpoints: what customers call, and where providers deliver their webhooks."""
