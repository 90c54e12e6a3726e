"""Panels, operators and menus, and why a button is gray. May import everything of the addon. Read first: panels."""
