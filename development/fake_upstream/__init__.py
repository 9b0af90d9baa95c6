"""A stand-in for both upstreams, over HTTP: it speaks the formats that they speak, and fails as they fail."""
