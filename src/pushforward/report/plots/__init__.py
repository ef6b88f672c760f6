r"""The grammar of figures: a few verbs draw what every experiment shows.

A verb takes `{label: arrays, Samples or History}`, or `{panel: {label: ...}}` where a figure has
several panels, and returns a matplotlib figure with a title and a caption attached. A label has
one colour and one dash pattern in a figure; exact values are black. What no verb draws is drawn
with matplotlib between `with plots.panels(...) as (figure, axes):` and the next statement, and
every returned figure can be changed through `figure.axes`.
"""

from .lines import against_exact as against_exact
from .lines import along_time as along_time
from .lines import autocorrelation as autocorrelation
from .lines import chains as chains
from .lines import curves as curves
from .planes import configurations as configurations
from .planes import images as images
from .planes import on_grid as on_grid
from .planes import particles as particles
from .planes import scatter as scatter
from .planes import trajectories as trajectories
from .shares import bars as bars
from .shares import histogram as histogram
from .shares import integers as integers
from .shares import modes as modes
from .shares import weights as weights
from .style import captioned as captioned
from .style import line_styles as line_styles
from .style import panels as panels
