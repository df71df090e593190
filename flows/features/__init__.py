"""Workers that compute feature shards, on this machine or on a Ray cluster."""
