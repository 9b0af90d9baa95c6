"""The official MongoDB back end, taught to take over collections that already hold documents."""

import ctypes.util
from importlib import import_module

# Three of the back end's geographic parts look for the GDAL library when they are imported, each by a dozen runs of
# `ldconfig` and of a compiler: a third of the time in which a process of ours starts. Nothing here uses any of it.
_find_library = ctypes.util.find_library
ctypes.util.find_library = lambda name: None
try:
    import_module("django_mongodb_backend.base")
finally:
    ctypes.util.find_library = _find_library
