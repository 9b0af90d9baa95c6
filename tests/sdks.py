"""The official SDKs, `sdks.openai` and `sdks.anthropic`, imported when a test first uses one.

That takes seconds, and every test process imports every test.
"""

import importlib
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name not in ("openai", "anthropic"):
        raise AttributeError(name)
    return importlib.import_module(name)
