"""Stand-ins for modules that a serving engine imports and that its scheduler never uses."""

import abc
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any


class Kind(abc.ABCMeta):
    """The class of stand-ins, which have every attribute, beside abstract classes too."""

    def __getattr__(cls, name: str) -> Any:
        return stand_in(name)


class Anything(metaclass=Kind):
    """Accepts whatever is done with it while a module that mentions it is imported."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> "Anything":
        return self

    def __getattr__(self, name: str) -> Any:
        return stand_in(name)

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> dict[str, str]:
        return {"type": "any"}


def stand_in(name: str) -> Any:
    """Return a class, so that it can be inherited from; what is special is not made up."""
    if name.startswith("__"):
        raise AttributeError(name)
    return Kind(name, (Anything,), {})


class Stub(types.ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> Any:
        # The same name is the same class, as some tests of identity expect.
        setattr(self, name, stand_in(name))
        return self.__dict__[name]


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stub for every module of some packages."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = frozenset(packages)

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """Return how to make the module, if it is one to be stubbed."""
        if fullname.partition(".")[0] not in self._packages:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Return the stub."""
        return Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing: a stub is empty."""


def install(packages: Sequence[str]) -> None:
    """Let these packages, whether they are installed or not, be stubs from now on."""
    sys.meta_path.insert(0, Finder(packages))
