"""The inbox of the providers' events: stored as they came, then processed until done, ignored, in review or dead."""
