"""The inbox of the providers' events: stored as they came, then processed until done, ignored, in review or dead.

`receive.py` verifies and stores, `process.py` applies the rules, `events.py` moves the stored event on, `review.py` is
what staff decide, `pull.py` asks the providers for what never came.
"""
