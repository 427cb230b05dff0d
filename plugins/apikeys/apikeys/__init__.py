"""apikeys: who may. Users, sessions, API keys, child tokens and the trail of what was done."""
