"""What looks at the mini world's pictures and reads its words: the judge, pictures and prompts in one space, and the
masked language model of prompt debiasing.

May import the mini world beside it. Read first: judge.
"""
