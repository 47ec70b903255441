/** What old browsers do each in their own way. All of this folder is ES3, and takes nothing newer for granted. */

/**
 * @param {any} target
 * @param {string} name
 * @param {(event: any) => void} heard
 */
export function listen(target, name, heard) {
  if (target.addEventListener) target.addEventListener(name, heard, false);
  else target.attachEvent("on" + name, heard);
}

/**
 * @param {any} target
 * @param {string} name
 * @param {(event: any) => void} heard
 */
export function unlisten(target, name, heard) {
  if (target.removeEventListener) target.removeEventListener(name, heard, false);
  else target.detachEvent("on" + name, heard);
}

/** @param {string} text */
export function parse(text) {
  // Where there is no JSON, the server is trusted with this as with its scripts.
  return window.JSON ? JSON.parse(text) : new Function("return " + text)();
}

/** @param {Element} element */
export function add(element) {
  (document.body || document.getElementsByTagName("head")[0]).appendChild(element);
}

/** @param {Element} element */
export function remove(element) {
  if (element.parentNode) element.parentNode.removeChild(element);
}

/**
 * @param {any} request
 * @param {string} wire
 * @param {any} parameters what is empty is left out
 */
export function address(request, wire, parameters) {
  var query = "";
  for (var name in parameters) {
    if (parameters[name]) query += "&" + name + "=" + encodeURIComponent(parameters[name]);
  }
  return request.base + "/channels/" + request.names.join(",") + "/" + wire + query.replace("&", "?");
}
