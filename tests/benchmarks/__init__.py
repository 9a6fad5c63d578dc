"""Do the measurements measure what they say?"""
