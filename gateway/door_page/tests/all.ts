// The rules of the page that need no browser. Run by `npm test`.

import "./backoff.test";
import "./canonical.test";
import "./codes.test";
import "./judging.test";
import "./sighting.test";
import "./telling.test";
import "./tickets.test";
