"""Print which screen of the console is tried under which condition, for docs/console.md."""

from tests.browser.forms import FORMS_WHY_NOT, UNDER
from tests.browser.screens import table

print(table(UNDER, FORMS_WHY_NOT), end="")
