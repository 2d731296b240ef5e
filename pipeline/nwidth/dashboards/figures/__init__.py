"""The dashboard's plots as Bokeh models: pure functions, arrays in, models out; what moves, moves in the browser."""
