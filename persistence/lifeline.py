"""Programs that end with whoever started them, also when that one is killed."""

import shutil


def dying_with_us(signal_name: str) -> list[str]:
    """What stands before the program's command. It means the thread that starts it, so that has to
    stay; and the kernel forgets it at a change of user. Where there is no setpriv: nothing.
    """
    return ["setpriv", "--pdeathsig", signal_name] if shutil.which("setpriv") else []
