"""Panel and Bokeh, as what they are to a type checker: half typed, so taken as untyped, in this one place."""

from __future__ import annotations

from typing import Any

import bokeh.layouts
import bokeh.models
import bokeh.plotting
import panel

bk: Any = bokeh.models
layouts: Any = bokeh.layouts
figure: Any = bokeh.plotting.figure
pn: Any = panel
