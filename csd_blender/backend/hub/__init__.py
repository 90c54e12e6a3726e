"""Getting models from the Hugging Face hub, by its own client: the only code of the backend that goes online.

May import job and huggingface_hub. Read first: get.
"""
