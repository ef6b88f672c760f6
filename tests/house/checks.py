"""The list of house checks: each returns one sentence for each violation."""

from collections.abc import Callable

from .abstract_or_final import abstract_or_final, names_that_cannot_be_made
from .exports import api_is_up_to_date, undocumented
from .imports import banned_imports
from .laws import missing_from_laws
from .places import foreign_places
from .registry import incomplete_experiments, unregistered
from .structure import ambiguous_names, import_circles

CHECKS: dict[str, Callable[[], list[str]]] = {
    "abstract or final": abstract_or_final,
    "abstract names": names_that_cannot_be_made,
    "docstrings": undocumented,
    "docs/api.md": api_is_up_to_date,
    "laws": missing_from_laws,
    "imports": banned_imports,
    "places": foreign_places,
    "unique names": ambiguous_names,
    "import circles": import_circles,
    "registry": unregistered,
    "experiments": incomplete_experiments,
}
