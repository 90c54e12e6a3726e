"""Panels, operators and menus, and why a button is greyed. May import everything of the addon. Read first: panels."""
