"""Score distillation: one gradient equation, its rows of coefficients, time-step draws and view prompts."""
