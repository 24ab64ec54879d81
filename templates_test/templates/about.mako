<%inherit file="base.mako"/>\
<%page cached="True" cache_region="long" cache_timeout="3600"/>\
<%block name="title">About – The Saltmere Courier</%block>
<%block name="banner">
${parent.banner()}
<p class="banner">A newspaper that does not exist</p>
</%block>
<article class="story">
<h1>About this paper</h1>
<p class="standfirst">Saltmere, its ferry and its owls are invented. The work
that goes into each page is not.</p>
<div class="text">
<p>Every report is put into type when a page asks for it: its best sentence is
found, its words are weighed against those of all other reports, its letters
are threaded and its picture is drawn. That takes a few thousandths of a second
here and there, and adds up. The second reader should not have to wait for what
the first has already paid for.</p>
<%block cached="True" cache_key="about:figures">
<dl>
<dt>Reports</dt><dd>${len(news.articles)}</dd>
<dt>Words</dt><dd>${f"{sum(len(a.body.split()) for a in news.articles.values()):,}"}</dd>
<dt>Letters</dt><dd>${sum(len(a.comments) for a in news.articles.values())}</dd>
</dl>
</%block>
<p>Any resemblance to a living town would be a compliment.</p>
</div>
</article>
