"""``build.py bench --cuda``: what only a graphics card can show, on one page. Read first: __main__, step_costs."""
