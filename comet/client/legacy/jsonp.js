import { add, address, listen, remove } from "./browser.js";

var count = 0;

/**
 * Long-poll by <script>, which goes to any site that allows this one.
 *
 * @param {any} request
 * @param {any} on told and over
 */
export function jsonp(request, on) {
  var script = document.createElement("script");
  var name = "comet" + ++count;
  var whole = window;
  request.query.callback = name;
  whole[name] = function (answer) {
    stop();
    on.told(answer);
    on.over(200);
  };
  function stop() {
    remove(script);
    // What comes too late must find a function.
    whole[name] = function () {};
  }
  listen(script, "error", function () {
    on.over(0);
  });
  script.src = address(request, "jsonp", request.query);
  add(script);
  return stop;
}
