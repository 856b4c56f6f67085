"""Numbers to figures: one style, PNG and SVG files, figures inside a page."""
