"""Tasks of RULER (Hsieh et al. 2024, arXiv 2404.06654) at token level; see `nas.data.ruler.task`."""

from nas.data.ruler.task import Ruler

__all__ = ["Ruler"]
