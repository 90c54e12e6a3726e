"""What is wrong with the scene, in words."""


class SceneError(Exception):
    """Something in the scene keeps a job from starting or a result from being applied.

    Attributes:
        text: one sentence saying what is wrong. fix: one sentence saying what to do.
    """

    def __init__(self, text: str, fix: str = ""):
        super().__init__(f"{text} {fix}".strip())
        self.text = text
        self.fix = fix
