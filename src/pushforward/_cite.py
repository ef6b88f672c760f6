"""Who to thank: BibTeX for exactly the methods an object is made of.

A class, function or module that implements a published method names it by key, in a class
attribute `references: ClassVar[tuple[str, ...]]` (an experiment module in `REFERENCES`). `cite`
walks what it is given, fields, containers and closures of partials included, and prints the
entries of the keys it meets, the three libraries everything stands on last.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from pushforward._errors import InputError

FOUNDATIONS = ("jax2018", "equinox2021", "optax2020")

BIBTEX: dict[str, str] = {
    "nets": """\
@article{nets,
  title = {NETS: A Non-Equilibrium Transport Sampler},
  author = {Albergo, Michael S. and Vanden-Eijnden, Eric},
  journal = {arXiv:2410.02711},
  year = {2024},
}""",
    "diffrax2021": """\
@phdthesis{diffrax2021,
  title = {On Neural Differential Equations},
  author = {Kidger, Patrick},
  school = {University of Oxford},
  year = {2021},
}""",
    "interpolants2023": """\
@article{interpolants2023,
  title = {Stochastic Interpolants: A Unifying Framework for Flows and Diffusions},
  author = {Albergo, Michael S. and Boffi, Nicholas M. and Vanden-Eijnden, Eric},
  journal = {arXiv:2303.08797},
  year = {2023},
}""",
    "sit": """\
@article{sit,
  title = {{SiT}: Exploring Flow and Diffusion-based Generative Models with Scalable
    Interpolant Transformers},
  author = {Ma, Nanye and Goldstein, Mark and Albergo, Michael S. and Boffi, Nicholas M. and
    Vanden-Eijnden, Eric and Xie, Saining},
  journal = {arXiv:2401.08740},
  year = {2024},
}""",
    "follmer2024": """\
@inproceedings{follmer2024,
  title = {Probabilistic Forecasting with Stochastic Interpolants and {F\\"ollmer} Processes},
  author = {Chen, Yifan and Goldstein, Mark and Hua, Mengjian and Albergo, Michael S. and
    Boffi, Nicholas M. and Vanden-Eijnden, Eric},
  booktitle = {International Conference on Machine Learning},
  note = {arXiv:2403.13724},
  year = {2024},
}""",
    "ferro2014": """\
@article{ferro2014,
  title = {Fair scores for ensemble forecasts},
  author = {Ferro, Christopher A. T.},
  journal = {Quarterly Journal of the Royal Meteorological Society},
  volume = {140},
  pages = {1917--1923},
  year = {2014},
}""",
    "flowmaps2024": """\
@article{flowmaps2024,
  title = {Flow map matching with stochastic interpolants: A mathematical framework for
    consistency models},
  author = {Boffi, Nicholas M. and Albergo, Michael S. and Vanden-Eijnden, Eric},
  journal = {arXiv:2406.07507},
  year = {2024},
}""",
    "flowmaps2025": """\
@article{flowmaps2025,
  title = {How to build a consistency model: Learning flow maps via self-distillation},
  author = {Boffi, Nicholas M. and Albergo, Michael S. and Vanden-Eijnden, Eric},
  journal = {arXiv:2505.18825},
  year = {2025},
}""",
    "swendsen1986": """\
@article{swendsen1986,
  title = {Replica {Monte Carlo} Simulation of Spin-Glasses},
  author = {Swendsen, Robert H. and Wang, Jian-Sheng},
  journal = {Physical Review Letters},
  volume = {57},
  pages = {2607--2609},
  year = {1986},
}""",
    "trex2024": """\
@article{trex2024,
  title = {Practical applications of machine-learned flows on gauge fields},
  author = {Abbott, Ryan and Albergo, Michael S. and Boyda, Denis and Hackett, Daniel C. and
    Kanwar, Gurtej and Romero-L{\\'o}pez, Fernando and Shanahan, Phiala E. and Urban, Julian M.},
  journal = {arXiv:2404.11674},
  year = {2024},
}""",
    "residual2023": """\
@article{residual2023,
  title = {Normalizing flows for lattice gauge theory in arbitrary space-time dimension},
  author = {Abbott, Ryan and Albergo, Michael S. and Botev, Aleksandar and Boyda, Denis and
    Cranmer, Kyle and Hackett, Daniel C. and Kanwar, Gurtej and Matthews, Alexander G. D. G. and
    Racani{\\`e}re, S{\\'e}bastien and Razavi, Ali and Rezende, Danilo J. and
    Romero-L{\\'o}pez, Fernando and Shanahan, Phiala E. and Urban, Julian M.},
  journal = {arXiv:2305.02402},
  year = {2023},
}""",
    "ballard2009": """\
@article{ballard2009,
  title = {Replica exchange with nonequilibrium switches},
  author = {Ballard, Andrew J. and Jarzynski, Christopher},
  journal = {Proceedings of the National Academy of Sciences},
  volume = {106},
  pages = {12224--12229},
  year = {2009},
}""",
    "leaps": """\
@article{leaps,
  title = {LEAPS: A discrete neural sampler via locally equivariant networks},
  author = {Holderrieth, Peter and Albergo, Michael S. and Jaakkola, Tommi},
  journal = {arXiv:2502.10843},
  year = {2025},
}""",
    "gillespie1977": """\
@article{gillespie1977,
  title = {Exact stochastic simulation of coupled chemical reactions},
  author = {Gillespie, Daniel T.},
  journal = {The Journal of Physical Chemistry},
  volume = {81},
  number = {25},
  pages = {2340--2361},
  year = {1977},
}""",
    "kaufman1949": """\
@article{kaufman1949,
  title = {Crystal statistics. {II}. {Partition} function evaluated by spinor analysis},
  author = {Kaufman, Bruria},
  journal = {Physical Review},
  volume = {76},
  pages = {1232--1243},
  year = {1949},
}""",
    "neal2001": """\
@article{neal2001,
  title = {Annealed importance sampling},
  author = {Neal, Radford M.},
  journal = {Statistics and Computing},
  volume = {11},
  pages = {125--139},
  year = {2001},
}""",
    "delmoral2006": """\
@article{delmoral2006,
  title = {Sequential {Monte Carlo} samplers},
  author = {Del Moral, Pierre and Doucet, Arnaud and Jasra, Ajay},
  journal = {Journal of the Royal Statistical Society: Series B},
  volume = {68},
  number = {3},
  pages = {411--436},
  year = {2006},
}""",
    "jarzynski1997": """\
@article{jarzynski1997,
  title = {Nonequilibrium equality for free energy differences},
  author = {Jarzynski, Christopher},
  journal = {Physical Review Letters},
  volume = {78},
  number = {14},
  pages = {2690--2693},
  year = {1997},
}""",
    "wolff2004": """\
@article{wolff2004,
  title = {{Monte Carlo} errors with less errors},
  author = {Wolff, Ulli},
  journal = {Computer Physics Communications},
  volume = {156},
  pages = {143--153},
  year = {2004},
}""",
    "duane1987": """\
@article{duane1987,
  title = {Hybrid {Monte Carlo}},
  author = {Duane, Simon and Kennedy, A. D. and Pendleton, Brian J. and Roweth, Duncan},
  journal = {Physics Letters B},
  volume = {195},
  number = {2},
  pages = {216--222},
  year = {1987},
}""",
    "tierney1994": """\
@article{tierney1994,
  title = {{Markov} chains for exploring posterior distributions},
  author = {Tierney, Luke},
  journal = {The Annals of Statistics},
  volume = {22},
  number = {4},
  pages = {1701--1728},
  year = {1994},
}""",
    "gabrie2022": """\
@article{gabrie2022,
  title = {Adaptive {Monte Carlo} augmented with normalizing flows},
  author = {Gabri{\\'e}, Marylou and Rotskoff, Grant M. and Vanden-Eijnden, Eric},
  journal = {Proceedings of the National Academy of Sciences},
  volume = {119},
  number = {10},
  pages = {e2109420119},
  year = {2022},
}""",
    "roeder2017": """\
@inproceedings{roeder2017,
  title = {Sticking the landing: simple, lower-variance gradient estimators for variational
           inference},
  author = {Roeder, Geoffrey and Wu, Yuhuai and Duvenaud, David},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {30},
  year = {2017},
}""",
    "multiscale2024": """\
@article{multiscale2024,
  title = {Multiscale normalizing flows for gauge theories},
  author = {Abbott, Ryan and others},
  journal = {arXiv:2404.10819},
  year = {2024},
}""",
    "omelyan2003": """\
@article{omelyan2003,
  title = {Symplectic analytically integrable decomposition algorithms: classification,
           derivation, and application to molecular dynamics, quantum and celestial mechanics
           simulations},
  author = {Omelyan, I. P. and Mryglod, I. M. and Folk, R.},
  journal = {Computer Physics Communications},
  volume = {151},
  pages = {272--314},
  year = {2003},
}""",
    "takaishi2006": """\
@article{takaishi2006,
  title = {Testing and tuning symplectic integrators for the hybrid {Monte Carlo} algorithm in
           lattice {QCD}},
  author = {Takaishi, Tetsuya and de Forcrand, Philippe},
  journal = {Physical Review E},
  volume = {73},
  pages = {036706},
  year = {2006},
}""",
    "fab2023": """\
@inproceedings{fab2023,
  title = {Flow Annealed Importance Sampling Bootstrap},
  author = {Midgley, Laurence Illing and Stimper, Vincent and Simm, Gregor N. C. and
            Sch{\\"o}lkopf, Bernhard and Hern{\\'a}ndez-Lobato, Jos{\\'e} Miguel},
  booktitle = {International Conference on Learning Representations},
  year = {2023},
}""",
    "adam2015": """\
@inproceedings{adam2015,
  title = {Adam: A Method for Stochastic Optimization},
  author = {Kingma, Diederik P. and Ba, Jimmy},
  booktitle = {International Conference on Learning Representations},
  year = {2015},
}""",
    "roberts1996": """\
@article{roberts1996,
  title = {Exponential convergence of {Langevin} distributions and their discrete
           approximations},
  author = {Roberts, Gareth O. and Tweedie, Richard L.},
  journal = {Bernoulli},
  volume = {2},
  number = {4},
  pages = {341--363},
  year = {1996},
}""",
    "hutchinson1989": """\
@article{hutchinson1989,
  title = {A stochastic estimator of the trace of the influence matrix for {Laplacian}
           smoothing splines},
  author = {Hutchinson, M. F.},
  journal = {Communications in Statistics - Simulation and Computation},
  volume = {18},
  number = {3},
  pages = {1059--1076},
  year = {1989},
}""",
    "jax2018": """\
@software{jax2018,
  title = {{JAX}: composable transformations of {Python}+{NumPy} programs},
  author = {Bradbury, James and Frostig, Roy and Hawkins, Peter and Johnson, Matthew James and
            Leary, Chris and Maclaurin, Dougal and Necula, George and Paszke, Adam and
            VanderPlas, Jake and Wanderman-Milne, Skye and Zhang, Qiao},
  url = {http://github.com/jax-ml/jax},
  year = {2018},
}""",
    "equinox2021": """\
@article{equinox2021,
  title = {Equinox: neural networks in {JAX} via callable {PyTrees} and filtered
           transformations},
  author = {Kidger, Patrick and Garcia, Cristian},
  journal = {Differentiable Programming workshop at Neural Information Processing Systems},
  year = {2021},
}""",
    "optax2020": """\
@software{optax2020,
  title = {The {DeepMind} {JAX} Ecosystem},
  author = {{DeepMind}},
  url = {http://github.com/google-deepmind},
  year = {2020},
}""",
}


def cite(*objects: Any) -> str:
    """Return the BibTeX entries of the methods that `objects` are made of.

    Parameters
    ----------
    objects
        Modules, classes, functions, pytrees of them, experiments, or keys of `BIBTEX`.

    Raises
    ------
    InputError
        For a key without an entry.
    """
    keys = dict.fromkeys(key for item in objects for key in _keys(item, set()))
    return "\n\n".join(_entry(key) for key in dict.fromkeys([*keys, *FOUNDATIONS]))


def _entry(key: str) -> str:
    if key not in BIBTEX:
        raise InputError(
            f"no reference is called {key!r}; the keys are {', '.join(BIBTEX)}; "
            "of an experiment: pf.cite(pf.experiments.find(NAME))"
        )
    return BIBTEX[key]


def _keys(item: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    if isinstance(item, str | bytes) or id(item) in seen:
        return
    seen.add(id(item))
    yield from _own(item)
    for inner in _parts(item):
        yield from _keys(inner, seen)


def _own(item: Any) -> Iterator[str]:
    """Yield the keys an object names itself, base classes included."""
    if isinstance(item, ModuleType):
        yield from vars(item).get("REFERENCES", ())
        return
    for cls in (item if isinstance(item, type) else type(item)).__mro__:
        own = vars(cls).get("references", ())
        yield from own if isinstance(own, tuple) else ()  # a property of that name is no list
    own = getattr(item, "__dict__", {}).get("references", ())
    yield from own if isinstance(own, tuple) and not isinstance(item, type) else ()


def _parts(item: Any) -> Iterator[Any]:
    """Yield what a container holds; strings inside are values, never keys."""
    parts: list[Any] = []
    if isinstance(item, type):
        return
    if isinstance(item, functools.partial):
        parts = [item.func, *item.args, *item.keywords.values()]
    elif dataclasses.is_dataclass(item):
        parts = [getattr(item, field.name, None) for field in dataclasses.fields(item)]
    elif isinstance(item, Mapping):
        parts = list(item.values())
    elif isinstance(item, tuple | list | set | frozenset):
        parts = list(item)
    yield from (part for part in parts if not isinstance(part, str))
